/** Names of classes, in the order of each data set. */

const list = (names: string): readonly string[] => names.split(', ')

/** tweet_eval/emoji mapping.txt */
export const EMOJIS = list(
  'red heart, smiling face with hearteyes, face with tears of joy, two hearts, fire, smiling face with smiling eyes, smiling face with sunglasses, sparkles, blue heart, face blowing a kiss, camera, United States, sun, purple heart, winking face, hundred points, beaming face with smiling eyes, Christmas tree, camera with flash, winking face with tongue',
)

/** GoEmotions labels.txt. @paper arXiv:2005.00547 */
export const EMOTIONS = list(
  'admiration, amusement, anger, annoyance, approval, caring, confusion, curiosity, desire, disappointment, disapproval, disgust, embarrassment, excitement, fear, gratitude, grief, joy, love, nervousness, optimism, pride, realization, relief, remorse, sadness, surprise, neutral',
)

/** CIFAR-100's fine classes. */
export const CIFAR_100 = list(
  'apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly, camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile, cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn mower, leopard, lion, lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom, oak tree, orange, orchid, otter, palm tree, pear, pickup truck, pine tree, plain, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip, turtle, wardrobe, whale, willow tree, wolf, woman, worm',
)

/** GTSRB's classes 0 to 42. */
export const TRAFFIC_SIGNS = list(
  'speed limit 20, speed limit 30, speed limit 50, speed limit 60, speed limit 70, speed limit 80, end of speed limit 80, speed limit 100, speed limit 120, no passing, no passing for trucks, right of way at the next intersection, priority road, yield, stop, no vehicles, no trucks, no entry, general caution, dangerous curve to the left, dangerous curve to the right, double curve, bumpy road, slippery road, road narrows on the right, road work, traffic signals, pedestrians, children crossing, bicycles crossing, beware of ice and snow, wild animals crossing, end of all speed and passing limits, turn right ahead, turn left ahead, ahead only, go straight or right, go straight or left, keep right, keep left, roundabout mandatory, end of no passing, end of no passing for trucks',
)

/** ESC-50's classes, in the order of their targets. */
export const ENVIRONMENTAL_SOUNDS = list(
  'dog, rooster, pig, cow, frog, cat, hen, insects, sheep, crow, rain, sea waves, crackling fire, crickets, chirping birds, water drops, wind, pouring water, toilet flush, thunderstorm, crying baby, sneezing, clapping, breathing, coughing, footsteps, laughing, brushing teeth, snoring, drinking or sipping, door knock, mouse click, keyboard typing, creaking wooden door, can opening, washing machine, vacuum cleaner, clock alarm, clock tick, glass breaking, helicopter, chainsaw, siren, car horn, engine, train, church bells, airplane, fireworks, hand saw',
)
